from chatroom_lib.cli import main

main()
